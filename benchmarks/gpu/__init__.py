"""The parts of `gpu_check.py`: each measures one thing on the CPU and on the device, and says whether the two agree."""
