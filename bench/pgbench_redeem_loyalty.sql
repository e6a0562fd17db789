\set i :i + 1
\set member :first + :client_id * :each + :i
SELECT redemption_id FROM loyalty.redeem(member_id => :member, points => :points, program => 'burn', key => 'c' || :member::text);
