CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, price INTEGER, kind INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
INSERT INTO item SELECT i, 'item ' || (i * 7919 % 100003), i * 31 % 9973, i % 17 FROM n;
CREATE INDEX by_name ON item(name);
SELECT kind, count(*), sum(price), max(name) FROM item GROUP BY kind ORDER BY kind;
SELECT count(*) FROM item a JOIN item b ON b.name = 'item ' || (a.price + 1) WHERE a.id < 8000;
UPDATE item SET price = price + 1 WHERE name LIKE '%77%';
SELECT sum(price), avg(length(name)) FROM item;
DELETE FROM item WHERE id % 3 = 0;
SELECT count(*), min(name), max(name) FROM item;
SELECT group_concat(name, ',') FROM (SELECT name FROM item ORDER BY price DESC, name LIMIT 5);
