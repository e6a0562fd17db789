\set member random(:first, :last)
\set key random(1, 1000000000000000)
SELECT rival.redeem(:member, :program, :points, 'p' || :key::text);
