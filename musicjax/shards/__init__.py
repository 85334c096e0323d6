"""Any number of files as a folder of shards, and training from it in constant memory."""
