"""Running jobs: sessions, execution, and what processors are made of.

What is stored is reached through the interfaces of the service alone.
"""
