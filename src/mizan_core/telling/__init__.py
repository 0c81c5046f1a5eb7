"""The origin tells the edges in front of it what is stale, and tells what did not get through again."""
