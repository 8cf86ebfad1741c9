"""issuers, found through entry points exactly as a third party's are."""
