"""What Flask and Django share: the HTTP face of agents, their events as a stream, the page."""
