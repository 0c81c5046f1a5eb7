"""For routes of the host's own: answers of Mizan's at URLs of the host's, and writes that the host makes."""
