"""What the backbone for photographs is compared with, from packages that ca_seg does not depend on."""
