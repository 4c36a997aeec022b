"""Where a text was taken from: an index over the training documents of a dataset, and the search for what stands in them.

    <home>/cache/origins/NAME-FINGERPRINT/
        index.json              what is here; written last
        piece-00000.text        documents in the spelling of `units`, one behind the other
        piece-00000.order       where their words begin, uint32, in the order of the text from there on
        piece-00000.places      which documents these are (`files.PLACE`)

It is over text and not over token ids: "word for word" is about words, and what a model writes is often cut into other
tokens than the same words were in the training text, at the edges of a span always.
"""
