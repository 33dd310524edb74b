use super::*;

fn clients(limits: ClientLimits) -> Arc<Clients> {
    Arc::new(Clients::new(limits, Arc::default()))
}

fn few() -> ClientLimits {
    ClientLimits {
        connections: 4,
        connections_per_client: 2,
        reserved: 1,
        exempt: vec!["203.0.113.0/24".parse().unwrap()],
        ..ClientLimits::of_descriptors(1024)
    }
}

fn admit(clients: &Arc<Clients>, address: &str) -> Result<Ticket, ClientLimit> {
    clients.admit(Some(address.parse().unwrap()), 10)
}

#[test]
fn the_last_descriptors_are_for_control_and_registration() {
    let clients = Arc::new(Clients::new(
        ClientLimits::of_descriptors(320),
        Arc::default(),
    ));
    let admit =
        |address: &str, descriptor| clients.admit(Some(address.parse().unwrap()), descriptor);
    let silent = admit("192.0.2.1", 289).unwrap();
    // One that has said nothing makes room for the next, which gets its descriptor.
    let refused = admit("192.0.2.2", 290).unwrap_err();
    assert_eq!(refused, ClientLimit::Connections);
    assert!(silent.is_evicted(Waker::noop()));
    drop(silent);
    admit("192.0.2.2", 289).unwrap().speak();
    assert_eq!(
        admit("192.0.2.3", 290).unwrap_err(),
        ClientLimit::Connections
    );
    assert!(admit("127.0.0.1", 290).unwrap().is_reserved());
    let control = Arc::new(Clients::new(clients.limits().for_control(), Arc::default()));
    assert!(control.admit(None, 319).is_ok());
}

#[test]
fn half_of_the_descriptors_are_for_one_client_and_three_quarters_for_all() {
    let limits = ClientLimits::of_descriptors(4096);
    assert_eq!(limits.connections_per_client, 2048);
    assert_eq!(limits.connections, 3072);
}

#[test]
fn a_network_of_ipv6_is_one_client() {
    let clients = clients(few());
    let held = [
        admit(&clients, "2001:db8:0:1::1"),
        admit(&clients, "2001:db8:0:1:ffff::2"),
    ];
    assert!(held.iter().all(Result::is_ok));
    let refused = admit(&clients, "2001:db8:0:1::3").unwrap_err();
    assert_eq!(refused, ClientLimit::ConnectionsPerClient);
    assert!(admit(&clients, "2001:db8:0:2::1").is_ok());
    drop(held);
    assert!(admit(&clients, "2001:db8:0:1::3").is_ok());
    assert_eq!(clients.open(), 0);
    let counts: Vec<_> = clients
        .counts()
        .all()
        .filter(|(_, count)| *count > 0)
        .collect();
    assert_eq!(counts, [(ClientLimit::ConnectionsPerClient, 1)]);
}

#[test]
fn ipv4_in_ipv6_is_the_same_client() {
    let clients = clients(few());
    let _held = [
        admit(&clients, "192.0.2.1"),
        admit(&clients, "::ffff:192.0.2.1"),
    ];
    assert!(admit(&clients, "192.0.2.1").is_err());
}

#[test]
fn proxies_in_front_are_exempt_but_not_from_the_sum() {
    let clients = clients(few());
    let mut held: Vec<_> = (0..4)
        .map(|_| admit(&clients, "203.0.113.7").unwrap())
        .collect();
    held.iter_mut().for_each(Ticket::speak);
    assert_eq!(
        admit(&clients, "192.0.2.1").unwrap_err(),
        ClientLimit::Connections
    );
}

#[test]
fn the_oldest_silent_connection_makes_room() {
    let clients = clients(few());
    let mut held: Vec<_> = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"]
        .iter()
        .map(|address| admit(&clients, address).unwrap())
        .collect();
    held[0].speak();
    let waker = Waker::noop();
    let mut newest = admit(&clients, "192.0.2.3").unwrap();
    newest.speak();
    let evicted: Vec<_> = held.iter().map(|ticket| ticket.is_evicted(waker)).collect();
    assert_eq!(evicted, [false, true, false, false]);
    held.iter_mut().for_each(Ticket::speak);
    assert_eq!(
        admit(&clients, "192.0.2.4").unwrap_err(),
        ClientLimit::Connections
    );
}

#[test]
fn this_machine_may_register_when_all_is_taken() {
    let clients = clients(few());
    let mut held: Vec<_> = (0..2)
        .map(|_| admit(&clients, "127.0.0.1").unwrap())
        .collect();
    held.iter_mut().for_each(Ticket::speak);
    let first = admit(&clients, "127.0.0.1").unwrap();
    assert!(first.is_reserved() && !held[0].is_reserved());
    let second = admit(&clients, "127.0.0.1").unwrap();
    assert!(first.is_evicted(Waker::noop()) && second.is_reserved());
    drop((first, second));
    assert!(admit(&clients, "127.0.0.1").unwrap().is_reserved());
}

#[test]
fn an_announced_client_has_its_own_limit() {
    let clients = clients(few());
    let announced = |address: &str| {
        let mut ticket = admit(&clients, "203.0.113.7").unwrap();
        let announced = ticket.announce(Some(address.parse().unwrap()));
        announced.map(|()| ticket)
    };
    let _held = [
        announced("192.0.2.1").unwrap(),
        announced("192.0.2.1").unwrap(),
    ];
    assert_eq!(
        announced("192.0.2.1").unwrap_err(),
        ClientLimit::ConnectionsPerClient
    );
    assert!(announced("192.0.2.2").is_ok());
}
