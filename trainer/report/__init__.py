"""The training report: metrics, figures, page and model card."""
