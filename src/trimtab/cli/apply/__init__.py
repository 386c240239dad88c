"""The engine without custom resources."""
