"""Booked and free time within one day."""
