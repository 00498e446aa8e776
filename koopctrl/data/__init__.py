"""Records: trajectories, tables, collection from plants, shipped data sets."""
