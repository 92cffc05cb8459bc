"""Event Grid: the subscription's system topic, custom topics, and webhooks that events are delivered to."""
