"""What people and portals look at: lists of mirrors and servers, and the pages that show them."""
