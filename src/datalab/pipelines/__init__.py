"""Declarations to silver and gold: parse, graph, plan, run."""
