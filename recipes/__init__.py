"""Recipes: how shipped things were made. Not part of the installed package."""
