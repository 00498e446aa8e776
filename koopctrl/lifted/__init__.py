"""The lifted face: a linear model in lifted coordinates, made by EDMD around an operating point."""
