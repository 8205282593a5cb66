"""Rewrites libvirt domain XML so that guests with legacy virtio drivers keep their devices."""

__version__ = "0.1.0"
