"""The IANA time zones of Azure's regions, for what Azure calls "your server region's time".

Source: "List of Azure regions", which names the physical location of each region.
"""

from __future__ import annotations

from datetime import tzinfo
from zoneinfo import ZoneInfo

_ZONES = {
    "Africa/Johannesburg": "southafricanorth southafricawest",
    "America/Chicago": "centralus northcentralus southcentralus usgovtexas usdodcentral",
    "America/Denver": "westcentralus",
    "America/Los_Angeles": "westus westus2",
    "America/Mexico_City": "mexicocentral",
    "America/New_York": "eastus eastus2 eastus3 usgovvirginia usdodeast",
    "America/Phoenix": "westus3 usgovarizona",
    "America/Santiago": "chilecentral",
    "America/Sao_Paulo": "brazilsouth brazilsoutheast",
    "America/Toronto": "canadacentral canadaeast",
    "Asia/Dubai": "uaenorth uaecentral",
    "Asia/Hong_Kong": "eastasia",
    "Asia/Jakarta": "indonesiacentral",
    "Asia/Jerusalem": "israelcentral",
    "Asia/Kolkata": "centralindia southindia westindia jioindiawest jioindiacentral",
    "Asia/Kuala_Lumpur": "malaysiawest",
    "Asia/Qatar": "qatarcentral",
    "Asia/Seoul": "koreacentral koreasouth",
    "Asia/Shanghai": "chinaeast chinaeast2 chinaeast3 chinanorth chinanorth2 chinanorth3",
    "Asia/Singapore": "southeastasia",
    "Asia/Taipei": "taiwannorth taiwannorthwest",
    "Asia/Tokyo": "japaneast japanwest",
    "Australia/Sydney": "australiaeast australiasoutheast australiacentral australiacentral2",
    "Europe/Amsterdam": "westeurope",
    "Europe/Berlin": "germanywestcentral germanynorth",
    "Europe/Brussels": "belgiumcentral",
    "Europe/Copenhagen": "denmarkeast",
    "Europe/Dublin": "northeurope",
    "Europe/London": "uksouth ukwest",
    "Europe/Madrid": "spaincentral",
    "Europe/Oslo": "norwayeast norwaywest",
    "Europe/Paris": "francecentral francesouth",
    "Europe/Rome": "italynorth",
    "Europe/Stockholm": "swedencentral swedensouth",
    "Europe/Vienna": "austriaeast",
    "Europe/Warsaw": "polandcentral",
    "Europe/Zurich": "switzerlandnorth switzerlandwest",
    "Pacific/Auckland": "newzealandnorth",
}
ZONES = {region: zone for zone, regions in _ZONES.items() for region in regions.split()}


def time_zone(region: str) -> tzinfo | None:
    """The time zone of a region (`westeurope` or `West Europe`); None for a region that this version does not know."""
    zone = ZONES.get(region.lower().replace(" ", ""))
    return ZoneInfo(zone) if zone else None
