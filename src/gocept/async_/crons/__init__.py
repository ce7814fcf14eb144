"""Cron jobs that ZCML declares: each exists once, as long as it is declared.
"""
