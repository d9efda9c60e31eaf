"""Convert a checkpoint through our library: into the folder that is the first argument, to safetensors.

"durable" as the second waits until the disk has all of it, "quick" leaves that to the operating system.
"""

import sys

import statedict

statedict.save(statedict.open(sys.argv[3]), f"{sys.argv[1]}/ours.safetensors", durable=sys.argv[2] == "durable")
