"""Train a head on a frozen backbone: python train.py --config-file configs/linear_probe/mini_scenes.yaml"""

import sys

from ca_seg.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
