"""The studio: train, steer and listen in a browser, on this machine."""
