"""The stand-ins: the parts of Azure and Fabric that have no real counterpart on one machine."""
