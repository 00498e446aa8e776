"""The network kernel: hidden layer and its samplers, input coupling, lag window, one step, free runs."""
