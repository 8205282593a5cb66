"""From one machine to another: the same devices at the same places, on another chipset.

``to_q35`` and ``to_pc`` return a ``Conversion``: edits, what they mean, and what stands in the way. What the guest
drives once it is there is then judged like any other domain.
"""

REMEDY = "convert"  # the name of the remedy in a plan's changes
TITLE = "Comes with the other chipset"
