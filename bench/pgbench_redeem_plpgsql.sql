\set i :i + 1
\set member :first + :client_id * :each + :i
SELECT rival.redeem(:member, :program, :points, 'p' || :member::text);
