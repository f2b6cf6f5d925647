"""The only room that knows Hydra: composes configurations, binds them to constructors, gives them an identity."""
