"""Lists of mirrors and servers for portals, and pages that show them to people."""
