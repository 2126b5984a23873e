"""Accounts of budgets: reserve, settle, balance."""
