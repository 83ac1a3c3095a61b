"""Train a head on a frozen backbone: python train.py --config-file configs/linear_probe/mini_scenes.yaml"""

import sys

from ca_seg.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
