"""Images for a training: data sets, captured images, augmentation, outliers."""
