# A bytecode interpreter: objects, dictionaries, calls.
prepare() { python3 -c pass; }
work() { python3 python3.py; }
