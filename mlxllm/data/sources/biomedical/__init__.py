"""PubMed's and PubMed Central's XML: records found in a stream, citations and articles made text."""
