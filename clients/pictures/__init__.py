"""Pictures of digits: decoded, separated from the paper, segmented, normalized as MNIST is."""
