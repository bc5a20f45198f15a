"""Smaller and faster models made of registered ones."""
