"""ca_seg inside the tools that people label with: Label Studio, CVAT, FiftyOne."""
