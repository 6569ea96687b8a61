"""General data: what a model learns beside the agent data, the (1 - eta) of Phase II."""
