"""LightningModules: they move batches between a backbone, a head and the metrics, and hold no formula."""
