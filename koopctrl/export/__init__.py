"""Back-ends of other tools: python-control, CasADi. Each module imports its own tool and no other does."""
