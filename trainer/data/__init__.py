"""Labelled images of digits: where they come from and how they are split."""

from trainer.data.dataset import Dataset, Split, split_validation, stratified
from trainer.data.source import load_data, load_test_images
from trainer.data.values import DIGITS, PIXELS, SIDE

__all__ = ["DIGITS", "PIXELS", "SIDE", "Dataset", "Split", "load_data", "load_test_images", "split_validation", "stratified"]
