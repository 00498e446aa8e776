"""Designs checked before they leave: closed loops on the network, and beside other controllers."""
