"""Microsoft Fabric's REST API, as far as mirroring uses it, with mirrors that really replicate."""
