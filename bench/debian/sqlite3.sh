# A database in memory: B-trees, a bytecode machine, text and integers.
work() { sqlite3 :memory: <sqlite3.sql; }
