\set member random(1, :members)
\set cents random(100, 12099)
INSERT INTO shop.:table (customer_id, total, ordered_at, status, category) VALUES (:member, :cents / 100.0, now(), 'paid', 'food');
