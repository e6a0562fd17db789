\set member random(:first, :last)
\set key random(1, 1000000000000000)
SELECT redemption_id FROM loyalty.redeem(member_id => :member, points => :points, program => 'burn', key => 'c' || :key::text);
