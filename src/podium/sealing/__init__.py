"""Sealing secrets at rest: the cipher, and where its master key comes from. Nothing here is imported before it is used."""
