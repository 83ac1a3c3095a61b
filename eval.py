"""Zero-shot evaluation: python eval.py --config-file configs/zero_shot/mini_scenes.yaml"""

import sys

from ca_seg.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
